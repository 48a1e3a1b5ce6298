"""``python -m optimizer`` is ``optimize``; torchrun starts it this way."""

from optimizer.cli import main

if __name__ == "__main__":
    main()
