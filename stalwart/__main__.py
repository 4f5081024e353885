"""`python -m stalwart` is the command `stalwart`; so `torchrun --nproc-per-node 2 -m stalwart attack runs/a` works."""

from stalwart.cli.main import main

if __name__ == "__main__":
    main()
