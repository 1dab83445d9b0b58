"""Recordings of people who listen to speech."""
