"""`python -m worker` is `windthrow-server`."""

from worker.cli import main

if __name__ == "__main__":
    main()
