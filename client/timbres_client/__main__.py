"""`python -m timbres_client`: the command `timbres`."""

from timbres_client.cli import main

if __name__ == "__main__":
    main()
