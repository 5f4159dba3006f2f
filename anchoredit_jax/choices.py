"""Words that a setting and a flag choose among.

They are apart from what reads them, because a command knows its flags before it has
imported JAX and all that needs it.
"""

ATTENTION = ("auto", "prefix", "xla", "dense", "cudnn", "splash")  # backends
FORMATS = ("sessions", "parquet", "jsonl", "webdataset")  # of sources of sessions
DIALECTS = ("wan", "diffusers", "anchoredit")  # of exports
LINKS = ("follow", "refuse")  # what symbolic links in folders are
NEAR = ("keep", "sessions", "images")  # what goes of near duplicates
ON_GAP = ("keep", "split", "drop")  # what is done behind a gap
POSITIONS = ("absolute", "window_relative")  # policies of the memory
SAMPLERS = ("few_step", "euler")
