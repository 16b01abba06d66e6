/** Subscriptions, the set of actions that are live on this page, and the wrapper with the four reactions. */

import { call, type Emit } from './emitter';
import type { Frame } from './link';
import type { Action, ActionData, Answer, Bag, Filter } from './types';

/** Queues a reaction; resolves with the hook's result. */
export type Act = (action: ActionData, event: string, properties?: Bag | void) => Promise<Bag>;

export interface Subscription {
  sub: string;
  filter?: Filter;
  callback: (action: Action) => void;
  /** Id of the frame that asked for it on this connection; empty = not asked yet. */
  asked: string;
}

/** Takes `action`, `action_revoked` and `subscribed` frames. */
export type Receive = (frame: Frame) => void;

export const openActions = (subscriptions: Subscription[], emit: Emit, act: Act): Receive => {
  /** By action id: a new session delivers the same action under a new delivery id, and the page keeps its object. */
  const live = new Map<string, { action: Action; subs: Set<string> }>();

  const wrap = (data: ActionData): Action => {
    const shown: Record<string, Promise<Bag>> = {};
    // Answered or hidden: the server has closed the delivery and will not revoke it any more.
    const close = (event: string) => async (answer?: Answer) => {
      const properties = typeof answer === 'function' ? await answer() : answer;
      live.delete(action.id);
      return act(action, event, properties);
    };
    const action: Action = {
      ...data,
      show: () => (shown[action.deliveryId] ||= act(action, 'show')),
      hide: close('hide'),
      decline: close('decline'),
      accept: close('accept'),
    };
    return action;
  };

  const enter = (data: ActionData, subs: string[]) => {
    const entry = live.get(data.id) || { action: wrap(data), subs: new Set() };
    const changed = JSON.stringify(entry.action.properties) !== JSON.stringify(data.properties);
    Object.assign(entry.action, data);
    live.set(data.id, entry);
    for (const { sub, callback } of subscriptions) {
      if (!subs.includes(sub) || (entry.subs.has(sub) && !changed)) continue;
      entry.subs.add(sub);
      call(callback, entry.action);
    }
  };

  const leave = (id: string, subs: string[], reason: string) => {
    const entry = live.get(id);
    if (!entry) return;
    for (const sub of subs) entry.subs.delete(sub);
    if (entry.subs.size) return;
    live.delete(id);
    emit('revoke', entry.action, reason);
  };

  return ({ t, action, actionId, actions, sub, subs = [sub], reason }) => {
    if (t === 'action') {
      enter(action as ActionData, subs as string[]);
    } else if (t === 'action_revoked') {
      leave(actionId as string, subs as string[], reason as string);
    } else {
      // A snapshot: what it lacks has ended while nobody could say so.
      const due = actions as ActionData[];
      for (const [id, entry] of live) {
        if (entry.subs.has(sub as string) && !due.some((data) => data.id === id)) leave(id, subs as string[], 'resync');
      }
      for (const data of due) enter(data, subs as string[]);
    }
  };
};
