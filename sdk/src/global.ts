/** The script file: puts the client on `window.lodestone` and replays what the snippet has collected. */

import { createLodestone } from './client';
import { call } from './emitter';

type Call = [method: string, ...args: unknown[]];

const page = globalThis as unknown as { lodestone?: Call[] };
const calls = Array.isArray(page.lodestone) ? [...page.lodestone] : [];
const client = createLodestone() as unknown as Record<string, (...args: unknown[]) => unknown>;
(page as { lodestone: unknown }).lodestone = client;
// `load` first: a page may track before it loads, and only then is there someone to track.
calls.sort((a, b) => +(b[0] === 'load') - +(a[0] === 'load'));
for (const [method, ...args] of calls) call(() => client[method]?.(...args));
