/** `on`, `once`, `off` and `emit`. A listener that throws is reported and never breaks the SDK or its neighbours. */

export type Listener = (...args: any[]) => void;

export type Emit = (event: string, ...args: unknown[]) => void;

/** Calls into the page's code. */
export const call = (listener: Listener, ...args: unknown[]): void => {
  try {
    listener(...args);
  } catch (error) {
    console.error(error);
  }
};

/** Gives `target` its `on`, `once` and `off`. */
export const emitter = (target: Record<'on' | 'once' | 'off', (event: any, listener: any) => unknown>): Emit => {
  const all: Record<string, Listener[]> = {};
  const of = (event: string) => all[event] || [];
  target.on = (event: string, listener: Listener) => {
    all[event] = [...of(event), listener];
    return target;
  };
  target.off = (event: string, listener?: Listener) => {
    all[event] = of(event).filter((other) => listener && other !== listener);
    return target;
  };
  target.once = (event: string, listener: Listener) => {
    const first: Listener = (...args) => {
      target.off(event, first);
      listener(...args);
    };
    return target.on(event, first);
  };
  return (event, ...args) => {
    for (const listener of of(event)) call(listener, ...args);
  };
};
