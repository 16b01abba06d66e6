/**
 * Goes inline into a page's head (minified as `snippet.js`): collects calls on `window.lodestone` until the script
 * has arrived, so that nothing is lost and nothing blocks. Then: `lodestone.load('ls_wk_…', {host: 'https://…'})`.
 */

type Stub = unknown[] & Record<string, unknown>;

const page = window as unknown as { lodestone: Stub };
const stub: Stub = (page.lodestone ||= [] as unknown as Stub);

if (!stub.load && Array.isArray(stub)) {
  for (const method of 'track page identify reset setAnonymousId context onAction onRevoke flush ready on once off debug'.split(' ')) {
    stub[method] = (...args: unknown[]) => {
      stub.push([method, ...args]);
    };
  }
  stub.load = (key: string, options?: { host?: string }) => {
    stub.push(['load', key, options]);
    const script = document.createElement('script');
    script.async = true;
    script.src = (options?.host || '') + '/sdk/lodestone.js';
    document.head.append(script);
  };
}

export {};
