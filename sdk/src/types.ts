/** What the SDK shows to the outside. Every name here is part of the public contract. */

/** A JSON object: properties, traits, contexts. */
export type Bag = Record<string, unknown>;

export interface Options {
  /** Origin of the server, for example `https://cdp.example.com`. Default: the page's own origin. */
  host?: string;
  /** First context, or a function that is asked at each call. See {@link Lodestone.context}. */
  context?: Bag | (() => Bag);
  /** Log every frame to the console. */
  debug?: boolean;
}

export interface CallOptions {
  /** When it happened, if not now. */
  timestamp?: Date | string;
  /** Replaces the current context for this one event. */
  context?: Bag;
}

/** One offending property. */
export interface Problem {
  path: string;
  rule: string;
  message: string;
}

/** What became of one message. It has left the queue when this arrives. */
export interface Result {
  messageId: string;
  /**
   * `stored` and `duplicate`: durable on the server. `dropped`: the person is locked, or (code `queue_full`)
   * the offline queue overflowed. `rejected`: see `code`. `recorded`: a reaction.
   */
  status: 'stored' | 'duplicate' | 'recorded' | 'dropped' | 'rejected';
  /** Stable error code when rejected, for example `unknown_event`. */
  code?: string;
  message?: string;
  /** Of a rejected event: one entry per offending property. */
  errors?: Problem[];
  /** The same of a refused identify or reaction. */
  details?: Problem[];
  eventId?: string;
  /** Name of the event, or the reaction (`show` …); absent for identify and reset. */
  event?: string;
  /** From the (last) sending to the answer, in ms. */
  latencyMs?: number;
}

export interface ActionData {
  /** Which action; stable over deliveries. */
  id: string;
  /** This delivery of it. A new one counts as a new impression. */
  deliveryId: string;
  type: string;
  version: number;
  tags: string[];
  properties: Bag;
}

/** An answer's properties: a value, or a function (also async) that makes one. */
export type Answer = Bag | (() => Bag | void | Promise<Bag | void>);

/** An action that is due, with the four reactions. All resolve when the server has recorded them. */
export interface Action extends ActionData {
  /** It is on screen now. Sent once per delivery; await it before display where a cap on `shown` must be strict. */
  show(): Promise<Bag>;
  /** It was taken away without an answer. */
  hide(): Promise<Bag>;
  /** The person said no. */
  decline(answer?: Answer): Promise<Bag>;
  /** The person said yes. Rejects with a {@link LodestoneError}, for example code `capped`. */
  accept(answer?: Answer): Promise<Bag>;
}

export interface LodestoneError extends Error {
  /** Stable code. */
  code: string;
}

/** What went wrong: a rejected message (then with its `messageId`), or an error of the connection. */
export type Fault = Partial<Result> & { code: string };

export interface Filter {
  /** Only actions of this type. */
  type?: string;
  /** Only actions that carry all of these tags. */
  tags?: string[];
}

export type ConnectionState = 'connecting' | 'open' | 'waiting' | 'closed';

/** The events of {@link Lodestone.on} and what their callbacks receive. */
export interface Events {
  ready: [];
  track: [event: string, properties: Bag];
  page: [name: string | undefined, properties: Bag];
  identify: [userId: string | null, traits: Bag];
  reset: [];
  /** A message was answered and left the queue. */
  ack: [result: Result];
  /** A message was rejected, or the server reported an error. */
  error: [fault: Fault];
  /** The queue was full; the oldest tracked event was given up. The number counts since load. */
  drop: [count: number];
  /** `waiting`: will retry in `retryMs`. `closed`: final, the server refused token or origin. */
  connection: [state: ConnectionState, retryMs?: number];
  /** See {@link Lodestone.onRevoke}. */
  revoke: [action: Action, reason: string];
}

export interface User {
  anonymousId(): string;
  /** The known id, or null while anonymous. */
  id(): string | null;
  traits(): Bag;
}

export type Callback = (result: Result) => void;

export interface Lodestone {
  /** Starts. Everything else but `on`, `once`, `off`, `ready` and `debug` needs it first. */
  load(writeKey: string, options?: Options): Lodestone;
  /** Tells that something happened. The promise resolves when the server has it durably, however late. */
  track(event: string, properties?: Bag | null, options?: CallOptions | null, callback?: Callback): Promise<Result>;
  /** Tracks `$page` with title, url, path, referrer and search filled in. */
  page(name?: string, properties?: Bag | null, options?: CallOptions | null, callback?: Callback): Promise<Result>;
  page(category: string, name: string, properties?: Bag | null, options?: CallOptions | null, callback?: Callback): Promise<Result>;
  /**
   * Tells who this is. The anonymous profile becomes part of the known one. A different id than the known one
   * resets first, so that two people on one browser never merge. Without id and traits, a known person logs out.
   */
  identify(userId: string | null, traits?: Bag | null, callback?: Callback): Promise<Result>;
  identify(traits?: Bag): Promise<Result>;
  /** Forgets the person: new anonymous id, no traits. Unsent messages keep the old id. */
  reset(): Promise<Result>;
  /** Continues under this anonymous id (for one that another system has given). Never merges. */
  setAnonymousId(id: string): void;
  user(): User;
  /** Sets the context of all later events and of the connection; actions are re-evaluated. Returns the current one. */
  context(context?: Bag | (() => Bag)): Bag;
  /** Calls back for every action that is or becomes due, and again when its properties change. Returns an undo. */
  onAction(callback: (action: Action) => void, filter?: Filter): () => void;
  /** Calls back when a delivered action is no longer due. Returns an undo. */
  onRevoke(callback: (action: Action, reason: string) => void): () => void;
  /** Connects at once if waiting; resolves true when nothing is left to send, false when it never will. */
  flush(): Promise<boolean>;
  ready(callback?: () => void): Promise<void>;
  on<E extends keyof Events>(event: E, callback: (...args: Events[E]) => void): Lodestone;
  once<E extends keyof Events>(event: E, callback: (...args: Events[E]) => void): Lodestone;
  off<E extends keyof Events>(event: E, callback?: (...args: Events[E]) => void): Lodestone;
  debug(enabled?: boolean): Lodestone;
}
