"""Learns corrections from reported answers, in the background: ``Corrector``, its file, Redis."""
