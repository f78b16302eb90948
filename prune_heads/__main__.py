"""`python -m prune_heads` is `prune-heads`."""

from prune_heads.cli.app import main

if __name__ == "__main__":
    main()
