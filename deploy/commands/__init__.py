"""Commands of the program; each module has one as COMMAND, with its arguments."""
