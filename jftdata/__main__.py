"""`python -m jftdata` is the same as `jftdata`."""

from jftdata.cli import main

if __name__ == "__main__":
    main()
