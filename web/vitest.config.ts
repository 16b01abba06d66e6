import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  // The SDK has no packages of its own; tests find vitest's functions as globals.
  test: {
    globals: true,
    environment: 'happy-dom',
    environmentOptions: { happyDOM: { url: 'https://shop.test/path', settings: { disableJavaScriptFileLoading: true, handleDisabledFileLoadingAsSuccess: true } } },
    include: ['sdk/tests/**/*.test.ts', 'web/*/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
  },
  // Tests and sources lie beside this package, not under it.
  server: { fs: { strict: false } },
  define: { SDK_VERSION: '"test"' },
});
