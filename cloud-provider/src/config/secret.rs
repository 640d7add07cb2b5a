//! Which names are those of secrets.

/// Whether a field, a flag or a key of this name holds a secret. Separators and case do not matter.
pub fn is_secret(name: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "secretkey",
        "privatekey",
        "apikey",
        "accesskey",
        "authorization",
        "credential",
        "credentials",
        "cookie",
    ];
    let name = name.to_lowercase().replace(['-', '.', '_'], "");
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}
