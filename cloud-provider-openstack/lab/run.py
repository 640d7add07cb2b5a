"""One service in this process.

run.py script NAME [ARGUMENT...]         a console script of an installed package
run.py wsgi MODULE PORT [ARGUMENT...]    the attribute `application` of a module, on a port of loopback
run.py paste FILE PORT                   the application of a Paste configuration, on a port of loopback
"""

import importlib
import importlib.metadata
import sys

THREADS = 8


def main():
    kind, name, *arguments = sys.argv[1:]
    if kind == 'script':
        sys.argv = [name, *arguments]
        (script,) = importlib.metadata.entry_points(group='console_scripts', name=name)
        sys.exit(script.load()())
    port, *arguments = arguments
    sys.argv = [name, *arguments]
    if kind == 'paste':
        from paste import deploy
        application = deploy.loadapp(f'config:{name}')
    else:
        application = importlib.import_module(name).application
    # The service may have replaced parts of the standard library, which the server has to see.
    import waitress
    waitress.serve(application, listen=f'127.0.0.1:{port}', threads=THREADS, ident=None, channel_timeout=300,
                   clear_untrusted_proxy_headers=False)


main()
