# make install: DESTDIR, PREFIX; mount(8) finds its helpers in /sbin only, systemd its units where UNITDIR says.
PREFIX ?= /usr/local
HELPERDIR ?= /sbin
UNITDIR ?= $(PREFIX)/lib/systemd/system
MAN := $(sort $(wildcard docs/man/*.[1-8]))
PROFILES := $(sort $(wildcard conf/profiles/*.conf))
UNITS := $(sort $(wildcard conf/systemd/*.in))

.PHONY: install uninstall clean
install: $(VARVE) $(TIERD) $(PLUGINS)
	install -D -m 755 $(BUILD)/varve $(DESTDIR)$(PREFIX)/bin/varve
	install -D -m 755 $(BUILD)/varve-tierd $(DESTDIR)$(PREFIX)/bin/varve-tierd
	for p in $(PLUGINS); do install -D -m 755 $$p $(DESTDIR)$(PREFIX)/bin/$${p##*/}; done
	for c in conf/varve.conf.sample conf/store.conf.sample $(PROFILES); do install -D -m 644 $$c $(DESTDIR)$(PREFIX)/share/doc/varve/$${c#conf/}; done
	install -d $(DESTDIR)$(HELPERDIR) $(DESTDIR)$(UNITDIR)
	for n in mount.varve mount.fuse.varve; do ln -sf $(PREFIX)/bin/varve $(DESTDIR)$(HELPERDIR)/$$n; done
	for m in $(MAN); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	for u in $(UNITS); do n=$${u##*/}; \
	  sed 's|@BINDIR@|$(PREFIX)/bin|g' "$$u" >"$(DESTDIR)$(UNITDIR)/$${n%.in}" && chmod 644 "$(DESTDIR)$(UNITDIR)/$${n%.in}" || exit 1; done

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,varve varve-tierd $(notdir $(PLUGINS))) $(addprefix $(DESTDIR)$(HELPERDIR)/,mount.varve mount.fuse.varve)
	for m in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/varve
	for u in $(UNITS); do n=$${u##*/}; rm -f "$(DESTDIR)$(UNITDIR)/$${n%.in}"; done

clean:
	rm -rf build build-*
