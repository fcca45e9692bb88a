#!/bin/sh
# dist.sh VERSION: the sources of the last commit as dist/libmcm-VERSION.tar.gz, with the sources of the Swift packages
# that are needed, so that neither git nor a network is. The same bytes for the same commits of all of them.
set -eu
cd "$(dirname "$0")/.."
git rev-parse HEAD >/dev/null || { echo "error: sources are packed from a git repository, and this is none" >&2; exit 1; }
[ -z "$(git status --porcelain)" ] || echo "Note: what is not committed is left out."
name=libmcm-$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -C "$work" -x

# .package(url: "https://HOST/PATH/NAME", from: "1.0.0")
sed -n 's|.*\.package(url: "[^"]*/\([^"/]*\)".*|\1|p' "$work/$name/Package.swift" | while read -r package; do
    sources=.build/checkouts/$package
    [ -e "$sources" ] || { echo "error: $sources is missing, run make first" >&2; exit 1; }
    mkdir -p "$work/$name/Dependencies"
    if [ -e "$sources/.git" ]; then # without what was changed there
        git -C "$sources" archive --prefix="$package/" HEAD | tar -C "$work/$name/Dependencies" -x
        echo "with $package $(git -C "$sources" describe --tags --always)"
    else
        cp -r "$sources" "$work/$name/Dependencies"
    fi
    sed -i "s|\.package(url: \"[^\"]*/$package\"[^)]*)|.package(path: \"Dependencies/$package\")|" \
        "$work/$name/Package.swift"
done

mkdir -p dist
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
    --mtime="@$(git log -1 --format=%ct)" -c "$name" | gzip -9n > "dist/$name.tar.gz.part"
mv "dist/$name.tar.gz.part" "dist/$name.tar.gz"
echo "dist/$name.tar.gz"
