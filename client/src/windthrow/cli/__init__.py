"""The command line `windthrow`: thin commands over `windthrow.Client`."""
