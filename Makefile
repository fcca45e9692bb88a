# libmcm. `make demo` and `make test` do all the set-up they need on Debian 12; see CONTRIBUTING.md.
#
#   make            build/libmcm.so, and the command line build/mcm; MCM_LIBRARY_ONLY=1 leaves that out, whose argument
#                   parser is on GitHub (so for all targets but those of the tests)
#   make demo       draw garments that follow sketches and label maps: build/demo.png
#   make test       all tests
#   make docs       docs/reference.md from include/mcm.h
#   make parity     compare with an installed diffusers (Python with torch, diffusers and transformers in
#                   $(PARITY_PYTHON))
#   make bench      time libmcm and its peers alternately: docs/benchmark.json (Python with bench/requirements.txt
#                   in $(BENCH_PYTHON), a quiet machine, three hours)
#   make install    PREFIX=/usr/local LIBDIR=PREFIX/lib DESTDIR=; make uninstall, with the same
#   make dist       dist/libmcm-VERSION.tar.gz, sources; make dist-binary, what `make install` installs
#   make deb        dist/*.deb: libmcm1, libmcm-dev, mcm-tools, python3-mcm
#   make test-packages  try these as a new user would, in a clean Debian (as root, ten minutes)
#   make release-check  whether this commit can be released
#   make abi-check  compare the header with the last release's ABI; make abi writes that anew
#   make wheel      dist/libmcm-*.whl, the Python package with the library

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

# Recipes below do not quote paths, and what is installed must find itself from any folder.
ifneq ($(words $(PREFIX)) $(words $(LIBDIR)) $(words x$(DESTDIR)),1 1 1)
$(error PREFIX is "$(PREFIX)", LIBDIR "$(LIBDIR)" and DESTDIR "$(DESTDIR)", expected paths without spaces)
endif
ifneq ($(words $(filter /%,$(PREFIX) $(LIBDIR))),2)
$(error PREFIX is "$(PREFIX)" and LIBDIR "$(LIBDIR)", expected absolute paths)
endif

LIBRARY := build/libmcm.so.$(VERSION)
COMMAND := build/mcm
SOURCES := Package.swift $(shell find include Sources -type f)
BUILD   := $(SWIFT) build -c release --disable-local-rpath

.PHONY: all setup demo test parity bench install uninstall clean test-swift test-abi test-python abi abi-check \
	test-install dist dist-binary deb test-packages release-check docs test-docs wheel test-cpp test-rust test-cli \
	test-swift-example install-cli uninstall-cli setup-tests

ifdef MCM_LIBRARY_ONLY
export MCM_LIBRARY_ONLY
all: $(LIBRARY)
else
all: $(LIBRARY) $(COMMAND)
install: install-cli
endif

$(LIBRARY): $(SOURCES) | setup
	@$(check-swift)
	$(BUILD) --product mcm
	@mkdir -p build
	install -m 755 .build/release/libmcm.so $@
	nm $@ > build/libmcm.symbols
	strip --strip-unneeded $@
	ln -sf libmcm.so.$(VERSION) build/libmcm.so.$(ABI)
	ln -sf libmcm.so.$(ABI) build/libmcm.so

# The command line, its manual page and its completions. (After the library: one build at a time.)
$(COMMAND): $(LIBRARY) tools/manpage.py
	$(BUILD) --product mcm-cli
	install -m 755 .build/release/mcm-cli $@
	strip $@
	$@ --experimental-dump-help | $(PYTHON) tools/manpage.py $(VERSION) > build/mcm.1
	$@ --generate-completion-script bash | sed '1{/^#!/d}' > build/mcm.bash
	$@ --generate-completion-script zsh > build/_mcm
	$@ --generate-completion-script fish > build/mcm.fish

# Said here, not by setup: installing what is built needs no Swift, which root may not have in its PATH.
check-swift = command -v $(SWIFT) >/dev/null || \
	{ echo "A Swift 6.3 toolchain is needed: https://www.swift.org/install/linux" >&2; exit 1; }

# System packages, if any is missing: to build, and to test.
setup:
	@tools/setup.sh
setup-tests:
	@tools/setup.sh abigail-tools cmake python3-venv valgrind

build/demo: examples/demo/*.c examples/demo/*.h include/mcm.h $(LIBRARY)
	$(CC) -std=c99 -Wall -Wextra $(CFLAGS) -Iinclude examples/demo/*.c -Lbuild -lmcm -lm -Wl,-rpath,'$$ORIGIN' -o $@

demo: build/demo
	build/demo examples/fashion build/demo.png
	@echo "The picture is build/demo.png."

test: test-swift test-abi test-cli test-swift-example test-python test-cpp test-rust test-docs abi-check \
	test-install

test-swift: setup
	@$(check-swift)
	MCM_LIBRARY_ONLY=1 $(SWIFT) test -c release -Xswiftc -enable-testing

test-abi: all setup-tests
	@! grep -E ' \$$s.*[0-9](MCM|Kernels|Microkernels|Images|Checkpoint|Networks|Pipeline|Sampling|Text|Training).*_WZ$$' build/libmcm.symbols \
		|| { echo "error: lazy globals above, expected none: see Sources/CShims/include/cshims.h"; exit 1; }
	Tests/ABI/run.sh build
	Tests/ABI/install.sh

test-cli: all $(VENV)/ready
	PYTHON=$(CURDIR)/$(VENV)/bin/python Tests/CLI/run.sh build/mcm build

# The example, built with this package and not by itself, for nothing to be built twice.
test-swift-example: all
	$(SWIFT) package --package-path examples/swift --scratch-path build/swift-example describe >/dev/null
	$(BUILD) --product session
	.build/release/session examples/fashion build/swift.png 1 >/dev/null
	$(CC) $(CFLAGS) -Iinclude examples/c/session.c -Lbuild -lmcm -Wl,-rpath,'$$ORIGIN' -o build/session
	build/session examples/fashion build/c.png 1 >/dev/null
	cmp build/swift.png build/c.png

test-python: all $(VENV)/ready wheel
	$(VENV)/bin/python -m pytest -q bindings/python/tests
	PYTHON=$(PYTHON) tools/wheel-test.sh

wheel: all
	PYTHON=$(PYTHON) tools/wheel.sh

docs:
	$(PYTHON) tools/reference.py

# Programs of the pages are built and run: Tests/docs/README.md.
test-docs: all $(VENV)/ready
	$(VENV)/bin/python Tests/docs/test_reference.py
	$(VENV)/bin/python Tests/docs/test_links.py
	$(VENV)/bin/python Tests/docs/test_numbers.py
	$(VENV)/bin/python Tests/docs/run.py
	$(VENV)/bin/python Tests/docs/test_blocks.py

# The C++ header, its CMake package and its examples.
test-cpp: all setup-tests
	bindings/cpp/tests/run.sh build
	bindings/cpp/tests/install.sh
	bindings/cpp/tests/docs.sh build

# Debian's cargo is installed where there is none.
test-rust: all $(VENV)/ready
	@command -v cargo >/dev/null || tools/setup.sh cargo
	bindings/rust/test.sh build build/rust $(VENV)/bin/python

$(VENV)/ready: bindings/python/pyproject.toml | setup-tests
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e 'bindings/python[test,train]'
	@touch $@

# Packages and the ABI: packaging/README.md.
abi: setup-tests
	tools/abi.sh dump packaging/abi/libmcm.abi

abi-check: all setup-tests
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
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@VERSION@|$(VERSION)|' \
		tools/mcm.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc
	install -d $(DESTDIR)$(PREFIX)/share/doc/mcm
	install -m 644 $(DOCUMENTS) $(DESTDIR)$(PREFIX)/share/doc/mcm
	$(install-cpp)
	@$(if $(DESTDIR),,packaging/ldconfig.sh $(LIBDIR)/libmcm.so.$(ABI))

# C++: the header and its parts, and the CMake package, which finds them by their place relative to its own.
DOCUMENTS := LICENSE THIRD-PARTY.md
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
		chmod 644 $(DESTDIR)$(LIBDIR)/cmake/mcm/$$file; \
	done
endef

uninstall: uninstall-cli
	rm -f $(DESTDIR)$(PREFIX)/include/mcm.hpp $(CPP_FILES:%=$(DESTDIR)$(PREFIX)/include/mcm/%) \
		$(CMAKE_FILES:%=$(DESTDIR)$(LIBDIR)/cmake/mcm/%)
	rm -f $(DOCUMENTS:%=$(DESTDIR)$(PREFIX)/share/doc/mcm/%)
	for folder in $(DESTDIR)$(PREFIX)/include/mcm $(DESTDIR)$(LIBDIR)/cmake/mcm $(DESTDIR)$(PREFIX)/share/doc/mcm; do \
		if [ -d $$folder ]; then rmdir --ignore-fail-on-non-empty $$folder; fi; done
	rm -f $(DESTDIR)$(PREFIX)/include/mcm.h $(DESTDIR)$(LIBDIR)/pkgconfig/mcm.pc
	@# Links of another version, which was installed since, stay.
	links=; for link in libmcm.so libmcm.so.$(ABI); do \
		if [ "$$(readlink -f $(DESTDIR)$(LIBDIR)/$$link)" = \
			"$$(readlink -f $(DESTDIR)$(LIBDIR)/libmcm.so.$(VERSION))" ]; then \
			links="$$links $(DESTDIR)$(LIBDIR)/$$link"; fi; done; \
	rm -f $$links $(DESTDIR)$(LIBDIR)/libmcm.so.$(VERSION)

SHARE := $(DESTDIR)$(PREFIX)/share
install-cli: all
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 $(COMMAND) $(DESTDIR)$(PREFIX)/bin/mcm
	install -m 644 build/mcm.1 $(SHARE)/man/man1/mcm.1
	install -m 644 build/mcm.bash $(SHARE)/bash-completion/completions/mcm
	install -m 644 build/_mcm $(SHARE)/zsh/site-functions/_mcm
	install -m 644 build/mcm.fish $(SHARE)/fish/vendor_completions.d/mcm.fish

uninstall-cli:
	rm -f $(DESTDIR)$(PREFIX)/bin/mcm $(SHARE)/man/man1/mcm.1 \
		$(SHARE)/bash-completion/completions/mcm $(SHARE)/zsh/site-functions/_mcm \
		$(SHARE)/fish/vendor_completions.d/mcm.fish

clean:
	rm -rf .build build dist
