#!/bin/sh
# Succeeds if the heartbeat file is younger than three minutes. RUN_ONCE touches it once, with a date in the far future.
# supercronic itself touches the file: if supercronic is dead or stuck, the file grows old.
case "${ALIVE_FILE:?is not set}" in
    /*) ;;
    *) ALIVE_FILE=./$ALIVE_FILE ;; # a name that begins with a dash is no option
esac
find "$ALIVE_FILE" -prune -type f -mmin -3 | grep -q .
