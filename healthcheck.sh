#!/bin/sh
# Healthy: a service that has shown within three minutes that it works, or one pass at once, which shows it for good.
# supercronic itself touches the file: one that is dead or stuck runs nothing, and lets it grow old.
case "${ALIVE_FILE:?is not set}" in
    /*) ;;
    *) ALIVE_FILE=./$ALIVE_FILE ;; # a name, whatever it begins with, and no option
esac
find "$ALIVE_FILE" -prune -type f -mmin -3 | grep -q .
