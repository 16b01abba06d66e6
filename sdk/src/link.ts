/** The socket and its life: connect, say hello, keep alive, come back with jitter. It knows no messages. */

import type { Bag, ConnectionState } from './types';

export interface Frame extends Bag {
  t: string;
}

/** Sends one frame on the open socket. */
export type Send = (frame: Frame) => void;
/** Connects now, also out of a wait; nothing if connected or closed for good. */
export type Connect = () => void;
/** Drops the connection and comes back at once. */
export type Restart = () => void;

const welcomeMs = 10_000;
const backoffMs = 500;
const backoffMaxMs = 20_000;
/** A connection must have lived this long before the next failure counts as the first again. */
const steadyMs = 5_000;
/** The server drains or restarts: everyone comes back, so spread them. */
const drainMs = 5_000;

export const openLink = (
  url: string,
  hello: () => Frame,
  receive: (frame: Frame) => void,
  tell: (state: ConnectionState, retryMs?: number) => void,
): [Send, Connect, Restart] => {
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let beat: ReturnType<typeof setInterval> | undefined;
  let tries = 0;
  let since = 0;
  let final = false;

  const send: Send = (frame) => socket!.send(JSON.stringify(frame));

  const down = (code: number, now?: boolean): void => {
    clearTimeout(timer);
    clearInterval(beat);
    if (socket) {
      // A dead peer may leave `close` pending for a minute, so the socket is forgotten first.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      socket = undefined;
    }
    if (since && Date.now() - since > steadyMs) tries = 0;
    since = 0;
    if (code === 4401 || code === 4403) {
      final = true;
      return tell('closed');
    }
    if (now) return connect();
    const span = code === 1001 || code === 1012 ? drainMs : Math.min(backoffMaxMs, backoffMs * 2 ** tries++);
    const wait = Math.random() * span;
    timer = setTimeout(connect, wait);
    tell('waiting', wait);
  };

  const connect = (): void => {
    if (socket || final) return;
    clearTimeout(timer);
    tell('connecting');
    let heard = true;
    socket = new WebSocket(url, 'lodestone.v1.json');
    timer = setTimeout(down, welcomeMs, 0);
    socket.onopen = () => send(hello());
    socket.onclose = (event) => down(event.code);
    socket.onmessage = (event) => {
      heard = true;
      const frame = JSON.parse(event.data as string) as Frame;
      if (frame.t === 'welcome') {
        clearTimeout(timer);
        since = Date.now();
        beat = setInterval(() => {
          if (!heard) return down(0);
          heard = false;
          send({ t: 'ping', id: 'p' });
        }, frame.pingIntervalMs as number);
        tell('open');
      }
      receive(frame);
    };
  };

  // The network's return beats any backoff.
  addEventListener('online', connect);
  return [send, connect, () => down(0, true)];
};
