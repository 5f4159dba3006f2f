"""The commands, a script each: `python launch/edit.py`, installed `anchoredit edit`."""
