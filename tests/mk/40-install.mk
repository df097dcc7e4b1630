# make install: DESTDIR, PREFIX; mount(8) finds its helpers in /sbin only.
PREFIX ?= /usr/local
HELPERDIR ?= /sbin
MAN := $(sort $(wildcard docs/man/*.[1-8]))

.PHONY: install uninstall clean
install: $(VARVE)
	install -D -m 755 $(BUILD)/varve $(DESTDIR)$(PREFIX)/bin/varve
	install -d $(DESTDIR)$(HELPERDIR)
	for n in mount.varve mount.fuse.varve; do ln -sf $(PREFIX)/bin/varve $(DESTDIR)$(HELPERDIR)/$$n; done
	for m in $(MAN); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/varve $(addprefix $(DESTDIR)$(HELPERDIR)/,mount.varve mount.fuse.varve)
	for m in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

clean:
	rm -rf build build-*
