"""What stands in for hypervisors, switches, disks and amphorae below the real services: drivers that say yes."""
