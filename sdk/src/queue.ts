/** The one FIFO queue: everything the SDK has to say and the server has not answered yet. */

import { storage } from './store';
import type { Bag, Result } from './types';

/** Under which id something happened: exactly one of the two. */
export type Who = { userId?: string; anonymousId?: string };

/** The bare id, for comparing. */
export const idOf = (who: Who): string => (who.userId || who.anonymousId)!;

export interface Message extends Bag {
  t: 'track' | 'identify' | 'reset' | 'act';
  /** The message id: made once, kept over retries and reloads. */
  id: string;
}

export interface Item {
  message: Message;
  /** Who the person was when it was queued. The connection must act for them when it is sent. */
  who: Who;
  /** Context at that moment, as JSON text. */
  context: string;
  /** When it was last sent on this connection (`performance.now()`); 0 = not yet. Means nothing in storage. */
  sent: number;
  /** Length of the message's text. */
  size: number;
}

/** An identify or reset changes who the connection acts for: nothing may be under way beside it. */
export const isBarrier = (item: Item): boolean => /^(id|re)/.test(item.message.t);

export const itemsMax = 1000;
export const bytesMax = 1e6;

/** Queues; `done` hears what became of it, if this page lives to see it. */
export type Add = (item: Item, done: (result: Result) => void) => void;
/** Takes `item` out for good and tells whoever waits for it. */
export type Take = (item: Item, result: Result) => void;

/** Reads back what earlier pages have left, oldest first. The array is live. */
export const openQueue = (prefix: string, onDrop: (count: number) => void): [Item[], Add, Take] => {
  const waiting = new Map<string, (result: Result) => void>();
  let dropped = 0;
  let bytes = 0;

  const items: Item[] = [];
  const push = (item: Item) => {
    items.push(item);
    bytes += item.size;
    item.sent = 0;
  };
  // One entry per key, so tabs never rewrite each other's. What another live tab still has in its memory is
  // sent twice and the server's dedupe keeps one: a message id is stored once for seven days.
  for (const key of storage((area) => Object.keys(area).sort()) || []) {
    if (key.startsWith(prefix)) storage((area) => push(JSON.parse(area.getItem(key)!) as Item));
  }

  const take: Take = (item, result) => {
    const { id } = item.message;
    items.splice(items.indexOf(item), 1);
    bytes -= item.size;
    storage((area) => area.removeItem(prefix + id));
    waiting.get(id)?.(result);
    waiting.delete(id);
  };

  const add: Add = (item, done) => {
    push(item);
    const { id } = item.message;
    storage((area) => area.setItem(prefix + id, JSON.stringify(item)));
    waiting.set(id, done);
    // Oldest tracked events go first: an identify lost would lose a merge, a track lost is one event.
    while (items.length > itemsMax || bytes > bytesMax) {
      const victim = items.find((other) => other.message.t === 'track' && !other.sent) || items[0]!;
      take(victim, { messageId: victim.message.id, status: 'dropped', code: 'queue_full' });
      onDrop(++dropped);
    }
  };

  return [items, add, take];
};
