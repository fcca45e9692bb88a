# libmcm. `make demo` and `make test` do all the set-up they need on Debian 12; see CONTRIBUTING.md.
#
#   make            build/libmcm.so
#   make demo       draw garments that follow sketches and label maps: build/demo.png
#   make test       all tests
#   make parity     compare with an installed diffusers (Python with torch, diffusers and transformers in
#                   $(PARITY_PYTHON))
#   make bench      time libmcm and its peers alternately: docs/benchmark.json (Python with bench/requirements.txt
#                   in $(BENCH_PYTHON), a quiet machine, three hours)
#   make install    PREFIX=/usr/local DESTDIR=
#   make uninstall  with the same
#   make dist       dist/libmcm-VERSION.tar.gz, sources; make dist-binary, what `make install` installs
#   make deb        dist/*.deb: libmcm1, libmcm-dev, mcm-tools, python3-mcm
#   make test-packages  try these as a new user would, in a clean Debian (as root, ten minutes)
#   make release-check  whether this commit can be released
#   make abi-check  compare the header with the last release's ABI; make abi writes that anew

VERSION := 0.1.0
ABI     := 1
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=
SWIFT   ?= $(shell command -v swift || echo /opt/swift/usr/bin/swift)
PYTHON  ?= python3
PARITY_PYTHON ?= $(PYTHON)
BENCH_PYTHON  ?= $(PARITY_PYTHON)
CFLAGS  ?= -O2
VENV    := build/venv

LIBRARY := build/libmcm.so.$(VERSION)
SOURCES := Package.swift $(shell find include Sources -type f)

.PHONY: all setup demo test parity bench install uninstall clean test-swift test-abi test-python

all: $(LIBRARY)

$(LIBRARY): $(SOURCES) | setup
	@$(check-swift)
	$(SWIFT) build -c release --product mcm
	@mkdir -p build
	install -m 755 .build/release/libmcm.so $@
	strip --strip-unneeded $@
	ln -sf libmcm.so.$(VERSION) build/libmcm.so.$(ABI)
	ln -sf libmcm.so.$(ABI) build/libmcm.so

# Said here, not by setup: installing what is built needs no Swift, which root may not have in its PATH.
check-swift = command -v $(SWIFT) >/dev/null || \
	{ echo "A Swift 6.3 toolchain is needed: https://www.swift.org/install/linux" >&2; exit 1; }

# System packages, if any is missing.
setup:
	@tools/setup.sh

build/demo: examples/demo/*.c examples/demo/*.h include/mcm.h $(LIBRARY)
	$(CC) -std=c99 -Wall -Wextra $(CFLAGS) -Iinclude examples/demo/*.c -Lbuild -lmcm -lm -Wl,-rpath,'$$ORIGIN' -o $@

demo: build/demo
	build/demo examples/fashion build/demo.png
	@echo "The picture is build/demo.png."

test: test-swift test-abi test-python

test-swift: setup
	@$(check-swift)
	$(SWIFT) test -c release -Xswiftc -enable-testing

test-abi: all
	@! nm .build/release/libmcm.so | grep -E ' \$$s.*[0-9](MCM|Kernels|Microkernels|Images|Checkpoint|Networks|Pipeline|Sampling|Text|Training).*_WZ$$' \
		|| { echo "error: lazy globals above, expected none: see Sources/CShims/include/cshims.h"; exit 1; }
	Tests/ABI/run.sh build
	Tests/ABI/install.sh

test-python: all $(VENV)/ready
	$(VENV)/bin/python -m pytest -q bindings/python/tests

$(VENV)/ready: bindings/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e 'bindings/python[test,train]'
	@touch $@

# Packages and the ABI: packaging/README.md.
.PHONY: abi abi-check test-install dist dist-binary deb test-packages release-check install-licences uninstall-licences

test: abi-check test-install

install: install-licences
uninstall: uninstall-licences

install-licences:
	install -d $(DESTDIR)$(PREFIX)/share/doc/mcm
	install -m 644 LICENSE THIRD-PARTY.md $(DESTDIR)$(PREFIX)/share/doc/mcm

uninstall-licences:
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/mcm

abi:
	tools/abi.sh dump packaging/abi/libmcm.abi

abi-check: all
	tools/abi.sh check packaging/abi/libmcm.abi $(LIBRARY)
	packaging/abi/test.sh

test-install: all
	packaging/test-install.sh
	packaging/version.sh

dist:
	packaging/dist.sh $(VERSION)

dist-binary: all
	packaging/dist-binary.sh $(VERSION)

deb: all
	packaging/deb.sh

test-packages: dist dist-binary deb
	packaging/test-dist.sh $(VERSION)
	packaging/test-chroot.sh

release-check: abi-check
	packaging/release-check.sh

parity: all
	$(PARITY_PYTHON) Tests/parity/parity.py --library build/libmcm.so

bench: all
	$(BENCH_PYTHON) bench/bench.py --library build/libmcm.so

install: all
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 include/mcm.h $(DESTDIR)$(PREFIX)/include/mcm.h
	install -m 755 $(LIBRARY) $(DESTDIR)$(LIBDIR)/libmcm.so.$(VERSION)
	ln -sf libmcm.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libmcm.so.$(ABI)
	ln -sf libmcm.so.$(ABI) $(DESTDIR)$(LIBDIR)/libmcm.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' tools/mcm.pc.in \
		> $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc
	@$(if $(DESTDIR),,packaging/ldconfig.sh $(LIBDIR)/libmcm.so.$(ABI))

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/include/mcm.h $(DESTDIR)$(LIBDIR)/libmcm.so.$(VERSION) \
		$(DESTDIR)$(LIBDIR)/libmcm.so.$(ABI) $(DESTDIR)$(LIBDIR)/libmcm.so $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc

clean:
	rm -rf .build build dist
