#!/bin/sh
# Learn tunes in ABC notation, and write one; a blank line ends it.
set -e
python tunes.py > tunes.abc
chargen train tunes.abc --documents blank-line --minutes 1
chargen sample --prompt "X:1\nT:Reel" --stop "\n\n" --temperature 0.8
