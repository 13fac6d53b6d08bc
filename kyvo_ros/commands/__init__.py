"""The commands of the command line, a module each: its options (`add_arguments`) and what it does (`run`)."""
