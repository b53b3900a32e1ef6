#!/bin/sh
# Fails, naming the files, when Go source is not gofmt-ed.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(find . -name '*.go' -not -path './bench/work/*'))
if [ -n "$unformatted" ]; then
	echo "make: these files are not gofmt-ed (run: gofmt -w FILE):" >&2
	echo "$unformatted" >&2
	exit 1
fi
