#!/bin/sh
# dist.sh VERSION: the sources of the last commit as dist/libmcm-VERSION.tar.gz, the same bytes each time.
set -eu
cd "$(dirname "$0")/.."
git rev-parse HEAD >/dev/null || { echo "error: sources are packed from a git repository, and this is none" >&2; exit 1; }
[ -z "$(git status --porcelain)" ] || echo "Note: what is not committed is left out."
mkdir -p dist
git archive --format=tar --prefix="libmcm-$1/" HEAD | gzip -9n > "dist/libmcm-$1.tar.gz.part"
mv "dist/libmcm-$1.tar.gz.part" "dist/libmcm-$1.tar.gz"
echo "dist/libmcm-$1.tar.gz"
