"""Requests of OpenAI- and Anthropic-style clients, whichever way they come in.

A body is read, decided, rewritten for the model that answers, and its reply is settled by the usage
in it. Envoy's processor and the HTTP front both do so by these modules, which know of neither.
"""
