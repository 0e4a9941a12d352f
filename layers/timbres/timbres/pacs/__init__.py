"""The PACs: one package per PAC, behind the protocols of :mod:`timbres.pacs.base`."""
