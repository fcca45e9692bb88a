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

.PHONY: all setup demo test parity bench install uninstall clean test-swift test-abi test-python test-cpp

all: $(LIBRARY)

$(LIBRARY): $(SOURCES) | setup
	$(SWIFT) build -c release --product mcm
	@mkdir -p build
	install -m 755 .build/release/libmcm.so $@
	strip --strip-unneeded $@
	ln -sf libmcm.so.$(VERSION) build/libmcm.so.$(ABI)
	ln -sf libmcm.so.$(ABI) build/libmcm.so

# System packages, if any is missing.
setup:
	@tools/setup.sh

build/demo: examples/demo/*.c examples/demo/*.h include/mcm.h $(LIBRARY)
	$(CC) -std=c99 -Wall -Wextra $(CFLAGS) -Iinclude examples/demo/*.c -Lbuild -lmcm -lm -Wl,-rpath,'$$ORIGIN' -o $@

demo: build/demo
	build/demo examples/fashion build/demo.png
	@echo "The picture is build/demo.png."

test: test-swift test-abi test-python test-cpp

test-swift: setup
	$(SWIFT) test -c release -Xswiftc -enable-testing

test-abi: all
	@! nm .build/release/libmcm.so | grep -E ' \$$s.*[0-9](MCM|Kernels|Microkernels|Images|Checkpoint|Networks|Pipeline|Sampling|Text|Training).*_WZ$$' \
		|| { echo "error: lazy globals above, expected none: see Sources/CShims/include/cshims.h"; exit 1; }
	Tests/ABI/run.sh build
	Tests/ABI/install.sh

test-python: all $(VENV)/ready
	$(VENV)/bin/python -m pytest -q bindings/python/tests

# The C++ header, its CMake package and its examples.
test-cpp: all
	bindings/cpp/tests/run.sh build
	bindings/cpp/tests/install.sh
	bindings/cpp/tests/docs.sh build

$(VENV)/ready: bindings/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e 'bindings/python[test,train]'
	@touch $@

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
	$(install-cpp)

# C++: the header and its parts, and the CMake package, which finds them by their place relative to its own.
CPP_FILES := $(notdir $(wildcard bindings/cpp/mcm/*.hpp))
CMAKE_FILES := mcmConfig.cmake mcmConfigVersion.cmake
define install-cpp
	install -d $(DESTDIR)$(PREFIX)/include/mcm $(DESTDIR)$(LIBDIR)/cmake/mcm
	install -m 644 bindings/cpp/mcm.hpp $(DESTDIR)$(PREFIX)/include/mcm.hpp
	install -m 644 $(CPP_FILES:%=bindings/cpp/mcm/%) $(DESTDIR)$(PREFIX)/include/mcm/
	for file in $(CMAKE_FILES); do \
		sed -e "s|@INCLUDE@|$$(realpath -m --relative-to=$(LIBDIR)/cmake/mcm $(PREFIX)/include)|" \
			-e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' bindings/cpp/cmake/$$file.in \
			> $(DESTDIR)$(LIBDIR)/cmake/mcm/$$file; \
	done
endef

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/include/mcm.hpp $(CPP_FILES:%=$(DESTDIR)$(PREFIX)/include/mcm/%) \
		$(CMAKE_FILES:%=$(DESTDIR)$(LIBDIR)/cmake/mcm/%)
	for folder in $(DESTDIR)$(PREFIX)/include/mcm $(DESTDIR)$(LIBDIR)/cmake/mcm; do \
		if [ -d $$folder ]; then rmdir --ignore-fail-on-non-empty $$folder; fi; done
	rm -f $(DESTDIR)$(PREFIX)/include/mcm.h $(DESTDIR)$(LIBDIR)/libmcm.so.$(VERSION) \
		$(DESTDIR)$(LIBDIR)/libmcm.so.$(ABI) $(DESTDIR)$(LIBDIR)/libmcm.so $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc

clean:
	rm -rf .build build
