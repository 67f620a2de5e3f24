#!/bin/sh
# Learn names from a list, and write new ones.
set -e
python names.py > names.txt
chargen train names.txt --minutes 1
chargen sample --count 20 --stop "\n" --unique --new
chargen sample --count 5 --stop "\n" --prompt Ma
