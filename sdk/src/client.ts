/** The public object: identity, the pump that moves the queue through the link, and the argument forms. */

import { openActions, type Receive, type Subscription } from './actions';
import { emitter } from './emitter';
import { uuid7 } from './ids';
import { openLink, type Frame, type Connect, type Restart, type Send } from './link';
import { idOf, isBarrier, openQueue, type Add, type Item, type Message, type Take, type Who } from './queue';
import { storage } from './store';
import type { Bag, CallOptions, Callback, Lodestone, Options, Result } from './types';

interface State {
  anonymousId: string;
  userId: string | null;
  traits: Bag;
  sessionId: string;
  /** Last activity, ms. */
  sessionAt: number;
}

/** Injected by the build from package.json. */
declare const SDK_VERSION: string;

const sessionMs = 30 * 60_000;
/** The server refuses larger events; better now than in a loop. */
const eventMax = 32_768;
/** Characters of messages in one frame: at 3 bytes each they stay under the server's 262,144 bytes. */
const frameMax = 65_536;
const retryMs = 1_000;
/**
 * Codes that ask for another try: `internal`, `unavailable`, `rate_limited`, `flow_exceeded`. A failed hook also says
 * that it is worth a retry, but that is for the person who clicked to decide.
 */
const retryable = /^(inter|unav|rate|flow)/;

export const createLodestone = (): Lodestone => {
  const api = {} as Lodestone;
  const emit = emitter(api);
  const subscriptions: Subscription[] = [];
  let subscribed = 0;
  let writeKey: string;
  let items: Item[];
  let add: Add;
  let take: Take;
  let transmit: Send;
  let connect: Connect | undefined;
  let restart: Restart;
  let up = false;
  let closed = false;
  let receiveAction: Receive;
  let state: State;
  let source: Bag | (() => Bag) = {};
  let save: () => void;
  let log = false;

  // The connection, as far as the client knows it.
  let actsFor = '';
  let context = '';
  let credit = 0;
  let batchMax = 1;
  let resumeToken = '';
  let lastSeq = 0;
  let pause: ReturnType<typeof setTimeout> | undefined;
  const idle: ((sent: boolean) => void)[] = [];
  let begin: () => void;
  const begun = new Promise<void>((done) => (begin = done));

  const who = (): Who => (state.userId ? { userId: state.userId } : { anonymousId: state.anonymousId });
  const currentContext = (): Bag => (typeof source === 'function' ? source() : source) || {};

  // ---- sending ----

  const send = (frame: Frame) => {
    if (log) console.log('ls >', frame);
    transmit(frame);
  };

  /** A frame that costs credit. */
  const spend = (frame: Frame, cost = 1) => {
    credit -= cost;
    send(frame);
  };

  const body = (item: Item): Message => {
    item.sent = performance.now();
    return item.message.t === 'track'
      ? { ...item.message, ...item.who, context: item.context === context ? undefined : (JSON.parse(item.context) as Bag) }
      : item.message;
  };

  /**
   * Sends what may be sent now. The connection acts for one person at a time, so an item waits until the
   * connection acts for whoever the item is about: through the identify or reset in front of it, or, when there
   * is none (another tab logged in, an identify was refused), by saying hello anew.
   */
  const pump = () => {
    while (up && !pause) {
      const flying = items.filter((item) => item.sent);
      const next = items.find((item) => !item.sent);
      if (flying.some(isBarrier)) return;
      if (idOf(next ? next.who : who()) !== actsFor) {
        if (flying.length) return;
        resumeToken = '';
        return restart();
      }
      if (credit < 1) return;
      if (actsFor === idOf(who())) {
        const fresh = subscriptions.find((subscription) => !subscription.asked);
        if (fresh) {
          spend({ t: 'subscribe', id: (fresh.asked = uuid7()), sub: fresh.sub, ...fresh.filter });
          continue;
        }
        const now = currentContext();
        if (JSON.stringify(now) !== context) {
          context = JSON.stringify(now);
          spend({ t: 'context', id: uuid7(), context: now });
          continue;
        }
      }
      if (!next || (isBarrier(next) && flying.length)) return;
      if (next.message.t !== 'track') {
        spend(body(next));
        continue;
      }
      const messages: Message[] = [];
      let size = 0;
      for (const item of items) {
        if (item.sent) continue;
        size += item.size;
        if (
          item.message.t !== 'track' ||
          idOf(item.who) !== actsFor ||
          messages.length >= Math.min(batchMax, credit) ||
          (messages.length && size > frameMax)
        ) {
          break;
        }
        messages.push(body(item));
      }
      spend({ t: 'batch', sentAt: new Date().toISOString(), messages }, messages.length);
    }
  };

  /** What happens in one turn of the page leaves in one batch. */
  const plan = () => queueMicrotask(pump);

  const retryLater = (answer: Bag) => {
    clearTimeout(pause);
    pause = setTimeout(
      () => {
        pause = undefined;
        pump();
      },
      (answer.retryAfterMs as number) || retryMs,
    );
  };

  const rest = () => {
    for (const done of idle.splice(0)) done(!closed);
  };

  const unsend = () => {
    for (const item of items) item.sent = 0;
  };

  /** Queues; resolves when answered. */
  const ask = (fields: Omit<Message, 'id'>, done?: Callback, subject = who(), options: CallOptions = {}): Promise<Result> => {
    const message = { ...fields, id: uuid7() } as Message;
    const size = JSON.stringify(message).length;
    const answered = new Promise<Result>((resolve) => {
      if (size > eventMax) {
        const result: Result = { messageId: message.id, status: 'rejected', code: 'payload_too_large' };
        emit('error', result);
        return resolve(result);
      }
      save();
      add({ message, who: subject, context: JSON.stringify(options.context || currentContext()), size, sent: 0 }, resolve);
      plan();
    });
    if (done) void answered.then(done);
    return answered;
  };

  // ---- receiving ----

  const hello = (): Frame => {
    // Back to whom the oldest unanswered message is about; the queue then replays every change of person.
    const subject = items[0]?.who || who();
    const now = currentContext();
    actsFor = idOf(subject);
    context = JSON.stringify(now);
    return {
      t: 'hello',
      v: 1,
      token: writeKey,
      ...subject,
      sessionId: state.sessionId,
      context: now,
      sdk: { name: 'lodestone-js', version: SDK_VERSION },
      resume: resumeToken ? { token: resumeToken, lastSeq } : undefined,
    };
  };

  /** An answer to one of our items: done with, or to be sent again. False when it is not about an item. */
  const settle = (answer: Bag): boolean => {
    const item = items.find(({ message }) => message.id === answer.id);
    if (!item) return false;
    const { message } = item;
    const { code } = answer;
    if (retryable.test(code as string)) {
      item.sent = 0;
      retryLater(answer);
      return true;
    }
    if (!code && isBarrier(item)) actsFor = idOf(message as Who);
    const result = {
      ...answer,
      messageId: message.id,
      status: code ? 'rejected' : answer.status,
      event: message.event,
      latencyMs: performance.now() - item.sent,
    } as unknown as Result;
    take(item, result);
    emit('ack', result);
    if (code) emit('error', result);
    if (!items[0]) rest();
    return true;
  };

  const receive = (frame: Frame) => {
    if (log) console.log('ls <', frame);
    const { t } = frame;
    if (frame.seq) lastSeq = frame.seq as number;
    credit += (frame.credit as number) || 0;
    if (t === 'welcome') {
      credit = frame.credit as number;
      batchMax = (frame.limits as { batch: number }).batch;
      resumeToken = frame.resumeToken as string;
      unsend();
      if (!frame.resumed) {
        lastSeq = 0;
        for (const subscription of subscriptions) subscription.asked = '';
      }
    } else if (/^(sub|action)/.test(t)) {
      receiveAction(frame);
      send({ t: 'seen', seq: lastSeq });
    } else if (t === 'ack') {
      (frame.results as Bag[]).forEach(settle);
      // `identified` with `id: null`: the server merged under us. Same person, nothing to do.
    } else if (!settle(frame) && t === 'error') {
      if (retryable.test(frame.code as string)) {
        // It may be about anything under way. Sending all of it again is safe: ids are deduped.
        unsend();
        for (const subscription of subscriptions) if (subscription.asked === frame.id) subscription.asked = '';
        retryLater(frame);
      }
      emit('error', frame);
    }
    pump();
  };

  // ---- the public object ----

  /** Leading words (names, ids), then bags (properties, options), then a callback, as in Segment's libraries. */
  const sort = (args: unknown[]): [string[], Bag, CallOptions, Callback | undefined] => {
    if (!connect) throw Error('call load() first');
    const words: string[] = [];
    while (/string|number/.test(typeof args[0])) words.push(String(args.shift()));
    const at = args.findIndex((arg) => typeof arg === 'function');
    const done = at < 0 ? undefined : (args.splice(at)[0] as Callback);
    return [words, (args[0] as Bag) || {}, (args[1] as CallOptions) || {}, done];
  };

  const track = (event: string, properties: Bag, options: CallOptions, done?: Callback) =>
    ask(
      { t: 'track', event, properties, timestamp: new Date(options.timestamp || Date.now()).toISOString() },
      done,
      who(),
      options,
    );

  const reset = (anonymousId = uuid7(), done?: Callback) => {
    const before = who();
    Object.assign(state, { anonymousId, userId: null, traits: {}, sessionAt: 0 });
    emit('reset');
    return ask({ t: 'reset', anonymousId }, done, before);
  };

  return Object.assign(api, {
    load(key: string, options: Options = {}) {
      if (connect) return api;
      writeKey = key;
      // Projects on one origin must not mix; the end of a write key is random and public.
      const prefix = `ls_${key.slice(-12)}_`;
      // Another library's id is a bare JSON string: the visitor it knows is continued.
      const kept = storage((area) => JSON.parse(area.getItem(prefix + 'state') || area.ajs_anonymous_id) as State | string);
      state = { anonymousId: uuid7(), userId: null, traits: {}, sessionId: '', sessionAt: 0 };
      Object.assign(state, typeof kept === 'string' ? { anonymousId: kept } : kept);
      save = () => {
        const now = Date.now();
        if (now - state.sessionAt > sessionMs) state.sessionId = uuid7();
        state.sessionAt = now;
        storage((area) => area.setItem(prefix + 'state', JSON.stringify(state)));
      };
      save();
      source = options.context || source;
      log ||= !!options.debug;
      [items, add, take] = openQueue(prefix + 'q_', (count) => emit('drop', count));
      receiveAction = openActions(subscriptions, emit, async ({ id, deliveryId }, event, properties) => {
        const result: Result & { result?: Bag } = await ask({ t: 'act', actionId: id, deliveryId, event, properties });
        if (result.code) throw Object.assign(Error(result.message || result.code), { code: result.code });
        return result.result || {};
      });
      [transmit, connect, restart] = openLink(
        (options.host || location.origin).replace(/^http/, 'ws') + '/v1/ws',
        hello,
        receive,
        (now, retryIn) => {
          up = now === 'open';
          closed = now === 'closed';
          if (closed) rest();
          emit('connection', now, retryIn);
        },
      );
      // Another tab logged in or out: the same person sits in front of this one.
      addEventListener('storage', (event) => {
        if (event.key === prefix + 'state' && event.newValue) {
          state = JSON.parse(event.newValue) as State;
          plan();
        }
      });
      connect();
      begin();
      void begun.then(() => emit('ready'));
      return api;
    },
    track(...args: unknown[]) {
      const [words, bag, options, done] = sort(args);
      emit('track', words[0], bag);
      return track(words[0]!, bag, options, done);
    },
    page(...args: unknown[]) {
      const [words, bag, options, done] = sort(args);
      const name = words.pop();
      const { href, pathname, search } = location;
      const { title, referrer } = document;
      const properties = { name, category: words[0], title, url: href, path: pathname, search, referrer, ...bag };
      emit('page', name, properties);
      return track('$page', properties, options, done);
    },
    identify(...args: unknown[]) {
      if (args[0] == null) args.shift();
      const [words, bag, , done] = sort(args);
      const userId = words[0] || state.userId;
      if (state.userId && !words[0] && !args[0]) return reset(undefined, done);
      if (state.userId && state.userId !== userId) void reset();
      const subject = who();
      Object.assign(state, { userId, traits: { ...state.traits, ...bag } });
      emit('identify', userId, state.traits);
      return ask(
        {
          t: 'identify',
          userId: userId || state.anonymousId,
          type: userId ? 'user_id' : 'anonymous_id',
          isAnonymous: !userId,
          previousUserId: userId ? subject.anonymousId : undefined,
          traits: bag,
          traitsMode: 'merge',
        },
        done,
        subject,
      );
    },
    reset: () => reset(),
    setAnonymousId(id) {
      if (!state.userId && id !== state.anonymousId) void reset(id);
      state.anonymousId = id;
      save();
    },
    user: () => ({ anonymousId: () => state.anonymousId, id: () => state.userId, traits: () => state.traits }),
    context(next) {
      source = next || source;
      plan();
      return currentContext();
    },
    onAction(callback, filter) {
      const subscription: Subscription = { sub: 's' + ++subscribed, filter, callback, asked: '' };
      subscriptions.push(subscription);
      plan();
      return () => {
        subscriptions.splice(subscriptions.indexOf(subscription), 1);
        if (subscription.asked && up) send({ t: 'unsubscribe', id: uuid7(), sub: subscription.sub });
      };
    },
    onRevoke(callback) {
      api.on('revoke', callback);
      return () => api.off('revoke', callback);
    },
    flush() {
      connect!();
      return new Promise((done) => (items[0] && !closed ? idle.push(done) : done(!closed)));
    },
    ready: (callback) => begun.then(callback),
    debug(enabled = true) {
      log = enabled;
      return api;
    },
  } satisfies Partial<Lodestone>);
};
