// What is searched for, in the form that the theme's search (lunr) needs.
const send = Worker.prototype.postMessage
Worker.prototype.postMessage = function (message, ...more) {
  if (typeof message.data !== "string") return send.call(this, message, ...more)
  const data = message.data
    // A hyphen before a word means "without": `--dry-run` would find nothing. Within a word it separates two words,
    // unless it is escaped. The theme removes one level of escapes, and lunr another.
    .replace(/(^|\s)-+|-+(?=\s|$)/g, "$1")
    .replace(/(\w)-(?=\w)/g, "$1\\\\\\-")
    // Chinese is indexed by pairs of neighbouring characters (docs/site_hooks.py).
    .replace(/[\u3400-\u9fff]{2,}/g, (run) => ` ${Array.from(run.slice(1), (next, i) => run[i] + next).join(" ")} `)
  return send.call(this, { ...message, data }, ...more)
}
