"""Groups of subcommands of ``coursekit``, each in a file of its own."""
