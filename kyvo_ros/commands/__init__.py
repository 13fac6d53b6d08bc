"""Commands of the command line that fill a module of their own; `kyvo_ros.cli` lists them all."""
