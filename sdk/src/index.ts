/** The ES module. `lodestone` is the page's one client; `createLodestone` makes another, say for a second project. */

import { createLodestone } from './client';

export { createLodestone };
export type * from './types';

/** The page's client: `lodestone.load('ls_wk_…')`. */
export const lodestone = createLodestone();
export default lodestone;
