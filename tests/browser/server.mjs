/** A real server process on a free port with a data folder of its own. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const readyMs = 60_000;
const stopMs = 25_000;

export const freePort = async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
};

/** Starts `binary serve` and waits until it is ready. `stop` ends it with SIGTERM and fails unless it exits with 0. */
export const startServer = async ({ binary, dataDir, port, catalog }) => {
  const base = `http://127.0.0.1:${port}`;
  const server = spawn(binary, ['serve', '--data-dir', dataDir, '--listen', `127.0.0.1:${port}`, '--catalog', catalog, '--shop'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (chunk) => (log = (log + chunk).slice(-20_000)));
  const exited = new Promise((resolve) => {
    server.on('exit', (code, signal) => resolve({ code, signal }));
    server.on('error', (error) => resolve({ code: -1, signal: String(error) }));
  });

  const deadline = Date.now() + readyMs;
  for (;;) {
    const ready = await fetch(base + '/readyz').then((response) => response.ok, () => false);
    if (ready) break;
    const gone = await Promise.race([exited, sleep(100)]);
    if (gone) throw Error(`the server ended before it was ready (${gone.code ?? gone.signal})\n${log}`);
    if (Date.now() > deadline) {
      server.kill('SIGKILL');
      throw Error(`the server was not ready within ${readyMs} ms\n${log}`);
    }
  }
  return {
    base,
    async stop() {
      server.kill('SIGTERM');
      const gone = await Promise.race([exited, sleep(stopMs)]);
      if (!gone) server.kill('SIGKILL');
      if (gone?.code !== 0) throw Error(`the server did not stop cleanly (${gone ? (gone.code ?? gone.signal) : 'still running'})\n${log}`);
    },
    kill: () => server.kill('SIGKILL'),
    log: () => log,
  };
};
