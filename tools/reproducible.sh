#!/bin/sh
# Builds the source twice, in two folders of different depth, and fails unless both binaries are the same bytes.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for copy in one deeper/down/two; do
	mkdir -p "$work/$copy"
	# The files as they lie here, committed or not; nothing that .gitignore names.
	git ls-files -z --cached --others --exclude-standard |
		xargs -0 sh -c 'for f; do [ -f "$f" ] && printf "%s\0" "$f"; done; :' sh |
		tar --null -T - -cf - | tar -xf - -C "$work/$copy"
	make -s -C "$work/$copy" build
done
one=$(sha256sum <"$work/one/bin/causeway")
two=$(sha256sum <"$work/deeper/down/two/bin/causeway")
if [ "$one" != "$two" ]; then
	echo "make: the build is not reproducible: ${one%% *} and ${two%% *}" >&2
	exit 1
fi
echo "reproducible: sha256 ${one%% *}"
