"""`python -m codec.cli`, where the `corvid` script is not installed."""

from codec.cli import main

if __name__ == "__main__":
    main()
