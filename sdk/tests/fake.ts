/**
 * A server to talk to, without a network: a `WebSocket` class whose other end speaks the protocol's frames. It dedupes by
 * message id as the real one does, answers by itself unless told to hold, and keeps all it received.
 */

type Frame = Record<string, any>;

export class FakeServer {
  /** All frames of all connections, in order. */
  received: Frame[] = [];
  /** Accepted messages by id: what a real server would have stored. */
  stored = new Map<string, Frame>();
  sockets: FakeSocket[] = [];
  /** Whether anybody is there at all. */
  online = true;
  /** Frame types that get no answer for now. */
  hold = new Set<string>();
  credit = 200;
  /** Added to each ack; by default the cost of what it acks. */
  refund = true;
  resumed = false;
  seq = 0;
  /** Answers to subscribe. */
  due: Frame[] = [];
  /** Decides about one message of a batch; undefined = stored. */
  judge: (message: Frame) => Frame | undefined = () => undefined;
  /** Decides about an act; undefined = recorded. */
  judgeAct: (act: Frame) => Frame | undefined = () => undefined;

  constructor() {
    const server = this;
    vi.stubGlobal(
      'WebSocket',
      class extends FakeSocket {
        constructor(url: string, protocol: string) {
          super(server, url, protocol);
        }
      },
    );
  }

  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }

  of(type: string): Frame[] {
    return this.received.filter((frame) => frame.t === type);
  }

  /** Every tracked event that was received, with repetitions. */
  tracks(): Frame[] {
    return this.of('batch').flatMap((batch) => batch.messages as Frame[]);
  }

  /** To the newest connection. */
  push(frame: Frame): void {
    this.socket.deliver(frame);
  }

  receive(socket: FakeSocket, frame: Frame): void {
    this.received.push(frame);
    if (this.hold.has(frame.t)) return;
    const answer = this.answer(frame);
    if (answer) socket.deliver(answer);
  }

  answer(frame: Frame): Frame | undefined {
    const once = (message: Frame) => {
      const status = this.stored.has(message.id) ? 'duplicate' : 'stored';
      this.stored.set(message.id, message);
      return status;
    };
    switch (frame.t) {
      case 'hello':
        return {
          t: 'welcome',
          v: 1,
          connectionId: 'cn_1',
          resumeToken: 'rt_' + this.sockets.length,
          resumeTtlMs: 120_000,
          resumed: this.resumed && !!frame.resume,
          channel: 'web',
          identity: { userId: frame.userId || frame.anonymousId, isAnonymous: !frame.userId },
          serverTime: new Date().toISOString(),
          pingIntervalMs: 25_000,
          credit: this.credit,
          limits: { frameBytes: 262_144, eventBytes: 32_768, batch: 100, subscriptions: 16 },
        };
      case 'batch': {
        const results = (frame.messages as Frame[]).map((message) => ({
          id: message.id,
          ...(this.judge(message) || { status: once(message), eventId: 'e-' + message.id }),
        }));
        return { t: 'ack', results, credit: this.refund ? results.length : 0 };
      }
      case 'identify':
      case 'reset': {
        const refused = this.judge(frame);
        if (refused) return { t: 'error', id: frame.id, retryable: false, fatal: false, details: [], ...refused };
        const userId = frame.userId || frame.anonymousId;
        return { t: 'identified', id: frame.id, status: once(frame), userId, merged: [], skipped: [], seq: ++this.seq };
      }
      case 'subscribe':
        return { t: 'subscribed', id: frame.id, sub: frame.sub, seq: ++this.seq, actions: this.due };
      case 'act':
        return this.judgeAct(frame) || { t: 'acted', id: frame.id, status: 'recorded', httpStatus: 200, result: {} };
      case 'ping':
        return { t: 'pong', id: frame.id, serverTime: new Date().toISOString() };
      default:
        return undefined;
    }
  }
}

export class FakeSocket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  open = false;

  constructor(
    private server: FakeServer,
    readonly url: string,
    readonly protocol: string,
  ) {
    server.sockets.push(this);
    queueMicrotask(() => {
      if (!server.online) return this.die(1006);
      this.open = true;
      this.onopen?.();
    });
  }

  send(text: string): void {
    if (!this.open) return;
    queueMicrotask(() => this.server.receive(this, JSON.parse(text) as Frame));
  }

  deliver(frame: Frame): void {
    const data = JSON.stringify(frame);
    queueMicrotask(() => this.open && this.onmessage?.({ data }));
  }

  /** The client closes. */
  close(): void {
    this.open = false;
  }

  /** The server or the network closes. */
  die(code: number): void {
    this.open = false;
    this.onclose?.({ code });
  }
}
