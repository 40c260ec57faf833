/**
 * The live link: server-sent events of one pair, kept alive.
 *
 * The server sends something at least once a second. Silence or an error is told at once (`onLink`), and the link is
 * made anew with growing pauses; each event carries a whole state, so nothing has to be caught up.
 */

const SILENT_MS = 4000;
const PAUSES_MS = [500, 1000, 2000, 4000, 8000];

export function connect(pair, handlers) {
  let source = null;
  let failures = 0;
  let heardAt = performance.now();
  let retry = 0;
  let closed = false;

  const open = () => {
    heardAt = performance.now();
    source = new EventSource(`api/stream?pair=${encodeURIComponent(pair)}`);
    for (const kind of ["tick", "health", "logs"]) {
      source.addEventListener(kind, (event) => {
        heardAt = performance.now();
        failures = 0;
        handlers.onLink("open", 0);
        handlers[kind](JSON.parse(event.data));
      });
    }
    source.onerror = again;
  };

  const again = () => {
    if (closed || retry) return;
    source?.close();
    source = null;
    handlers.onLink("lost", performance.now() - heardAt);
    const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)];
    failures += 1;
    retry = setTimeout(() => {
      retry = 0;
      if (!closed) open();
    }, pause);
  };

  const watch = setInterval(() => {
    if (performance.now() - heardAt > SILENT_MS && source) again();
  }, 500);

  open();
  return {
    close() {
      closed = true;
      clearTimeout(retry);
      clearInterval(watch);
      source?.close();
    },
  };
}

/** JSON from our own server; the error is the server's one clear line. Whose session is over goes to the login. */
export async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) location.assign("login");
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error ?? `${path} answered ${answer.status}`);
  return body;
}

/** Posts JSON to our own server; gives status and body, and throws where nobody answers. */
export async function post(path, content) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });
  if (answer.status === 401) location.assign("login");
  return { status: answer.status, body: (await answer.json().catch(() => null)) ?? {} };
}
