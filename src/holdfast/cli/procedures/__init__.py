"""What commands do that is more than one call: look a store over, follow events, send a signal that is judged, take
backups by a schedule, try one out. They talk to stores and runs, and print nothing.
"""
