#!/usr/bin/env bash
# A fault for shellcheck: a variable that falls apart into words.
folder=$1
rm -r $folder
