/** The drawings, one per product, as inline SVG on a 400 × 400 field. Own work, no external images. */

import { raw, type Html } from '../shared/html';

const steam = (x: number, y: number, color: string): string =>
  [0, 1, 2]
    .map(
      (i) =>
        `<path class="steam" d="M${x + i * 22} ${y}c-9 -14 9 -24 0 -38s9 -24 0 -36" fill="none" stroke="${color}" stroke-width="5" stroke-linecap="round" opacity="${0.5 - i * 0.12}"/>`,
    )
    .join('');

const shadow = (cx: number, cy: number, rx: number): string => `<ellipse cx="${cx}" cy="${cy}" rx="${rx}" ry="${rx * 0.1}" fill="#000" opacity=".13"/>`;

const drawings: Record<string, string> = {
  'heron-kettle': `
    <defs><linearGradient id="kettle" x1="0" x2="1"><stop offset="0" stop-color="#8fa19a"/><stop offset=".35" stop-color="#dfe6e1"/><stop offset=".7" stop-color="#a9b8b1"/><stop offset="1" stop-color="#74867f"/></linearGradient></defs>
    ${shadow(214, 322, 108)}
    <path d="M142 268C104 262 112 214 96 178C88 160 74 150 58 150" fill="none" stroke="#8fa19a" stroke-width="17" stroke-linecap="round"/>
    <path d="M142 264C108 258 116 212 100 176C92 158 76 149 60 149" fill="none" stroke="#d3dcd7" stroke-width="6" stroke-linecap="round"/>
    <path d="M284 176C344 158 366 214 336 262C328 276 312 280 298 278" fill="none" stroke="#3b2c22" stroke-width="19" stroke-linecap="round"/>
    <path d="M288 172C340 160 358 212 331 257" fill="none" stroke="#6b5140" stroke-width="5" stroke-linecap="round"/>
    <path d="M158 168H272C276 168 279 170 280 174L302 304C304 314 298 320 288 320H142C132 320 126 314 128 304L150 174C151 170 154 168 158 168Z" fill="url(#kettle)"/>
    <path d="M133 276H297L302 304C304 314 298 320 288 320H142C132 320 126 314 128 304Z" fill="#5f716a" opacity=".22"/>
    <ellipse cx="215" cy="168" rx="60" ry="13" fill="#6f817a"/><ellipse cx="215" cy="164" rx="60" ry="12" fill="#c9d4ce"/>
    <path d="M204 156H226L222 142H208Z" fill="#3b2c22"/><ellipse cx="215" cy="139" rx="16" ry="11" fill="#4d3a2d"/><ellipse cx="211" cy="136" rx="6" ry="3" fill="#7c604b"/>
    <path d="M176 186L164 300" stroke="#fff" stroke-width="7" stroke-linecap="round" opacity=".55"/>`,
  'tide-mug': `
    <defs><linearGradient id="mug" x1="0" x2="1"><stop offset="0" stop-color="#e9ddc9"/><stop offset=".4" stop-color="#fbf5e9"/><stop offset="1" stop-color="#cdbb9d"/></linearGradient><clipPath id="mugbody"><path d="M112 150H268V282C268 306 250 322 226 322H154C130 322 112 306 112 282Z"/></clipPath></defs>
    ${steam(168, 132, '#fff')}
    ${shadow(192, 326, 100)}
    <path d="M262 188C322 178 330 272 258 276" fill="none" stroke="#d8c8ad" stroke-width="22"/><path d="M264 184C318 178 322 264 262 272" fill="none" stroke="#f4ead9" stroke-width="6"/>
    <g clip-path="url(#mugbody)"><path d="M100 140H280V330H100Z" fill="url(#mug)"/>
    <path d="M100 226C126 208 148 242 176 226S226 208 250 226S280 232 290 224V340H100Z" fill="#3f7f86"/>
    <path d="M100 254C130 238 150 270 180 254S232 238 290 254V340H100Z" fill="#2d636b"/>
    <path d="M100 286C136 272 160 298 190 286S244 274 290 286V340H100Z" fill="#1f4a53"/>
    <path d="M128 150V322" stroke="#fff" stroke-width="12" opacity=".28"/><path d="M262 150V322" stroke="#000" stroke-width="26" opacity=".08"/></g>
    <ellipse cx="190" cy="150" rx="78" ry="17" fill="#efe5d3"/><ellipse cx="190" cy="151" rx="66" ry="12" fill="#43291b"/><path d="M132 147C150 138 230 138 248 147" fill="none" stroke="#7a5138" stroke-width="4" opacity=".7"/>`,
  'dusk-lamp': `
    <defs><radialGradient id="glow" cx=".5" cy=".5" r=".5"><stop offset="0" stop-color="#ffdf9e" stop-opacity=".95"/><stop offset=".5" stop-color="#ffbf6b" stop-opacity=".34"/><stop offset="1" stop-color="#ffbf6b" stop-opacity="0"/></radialGradient><linearGradient id="dome" x1="0" x2="0" y1="0" y2="1"><stop offset="0" stop-color="#fff3d6"/><stop offset=".7" stop-color="#ffd48a"/><stop offset="1" stop-color="#f6a95a"/></linearGradient></defs>
    <circle class="glow" cx="200" cy="176" r="178" fill="url(#glow)"/>
    ${shadow(200, 334, 74)}
    <path d="M190 196H210L214 306H186Z" fill="#a9743f"/><path d="M197 196H203L205 306H196Z" fill="#d9a66c"/>
    <path d="M142 330C142 312 166 304 200 304S258 312 258 330C258 336 142 336 142 330Z" fill="#8a5a2f"/><path d="M156 318C168 308 232 308 244 318" fill="none" stroke="#c98f57" stroke-width="5" stroke-linecap="round"/>
    <path d="M88 196C88 126 136 82 200 82S312 126 312 196C312 208 262 214 200 214S88 208 88 196Z" fill="url(#dome)"/>
    <ellipse cx="200" cy="198" rx="111" ry="15" fill="#fff1cf"/><ellipse cx="200" cy="200" rx="82" ry="9" fill="#fff"/>
    <path d="M118 168C122 128 150 104 182 100" fill="none" stroke="#fff" stroke-width="9" stroke-linecap="round" opacity=".75"/>`,
  'ember-lantern': `
    <defs><radialGradient id="ember" cx=".5" cy=".62" r=".6"><stop offset="0" stop-color="#ffd98a"/><stop offset=".55" stop-color="#f2913d" stop-opacity=".75"/><stop offset="1" stop-color="#7a2f14" stop-opacity=".35"/></radialGradient><radialGradient id="warm"><stop offset="0" stop-color="#ffb25e" stop-opacity=".75"/><stop offset="1" stop-color="#ff9d45" stop-opacity="0"/></radialGradient></defs>
    <circle class="glow" cx="200" cy="228" r="190" fill="url(#warm)"/>
    ${shadow(200, 346, 92)}
    <path d="M150 122C150 46 250 46 250 122" fill="none" stroke="#2a2523" stroke-width="9" stroke-linecap="round"/>
    <path d="M164 128L182 98H218L236 128Z" fill="#3a3330"/><rect x="128" y="126" width="144" height="18" rx="5" fill="#2a2523"/>
    <path d="M138 144H262L272 308H128Z" fill="url(#ember)"/>
    <path d="M138 144H262L272 308H128Z" fill="#fff" opacity=".07"/>
    <rect x="182" y="264" width="36" height="44" rx="6" fill="#f6ead4"/><path d="M182 276C190 282 196 270 206 278S214 276 218 280V264H182Z" fill="#fffaf0"/>
    <path class="flame" d="M200 186C224 220 222 254 200 262C178 254 176 220 200 186Z" fill="#ffb347"/><path class="flame" d="M200 216C212 234 210 254 200 260C190 254 188 234 200 216Z" fill="#fff2c4"/>
    <path d="M138 144L128 308M262 144L272 308M200 144V182" stroke="#2a2523" stroke-width="8" stroke-linecap="round"/>
    <path d="M156 158L150 292" stroke="#fff" stroke-width="7" stroke-linecap="round" opacity=".3"/>
    <path d="M118 308H282L290 340H110Z" fill="#2a2523"/><path d="M122 316H278" stroke="#564c47" stroke-width="4"/>`,
  'fjell-throw': `
    <defs><clipPath id="fold1"><rect x="70" y="238" width="262" height="74" rx="30"/></clipPath><clipPath id="fold2"><rect x="82" y="176" width="242" height="70" rx="30"/></clipPath><clipPath id="fold3"><rect x="96" y="118" width="216" height="66" rx="30"/></clipPath></defs>
    ${shadow(202, 326, 140)}
    <g stroke="#c9bda8" stroke-width="5" stroke-linecap="round">${Array.from({ length: 17 }, (_, i) => `<path d="M${92 + i * 14} 304l${(i % 3) - 1} 24"/>`).join('')}</g>
    <g clip-path="url(#fold1)"><rect x="70" y="238" width="262" height="74" fill="#efe6d6"/><rect x="70" y="258" width="262" height="12" fill="#6d665c"/><rect x="70" y="278" width="262" height="5" fill="#6d665c"/><rect x="70" y="292" width="262" height="20" fill="#000" opacity=".07"/></g>
    <g clip-path="url(#fold2)"><rect x="82" y="176" width="242" height="70" fill="#f6efe2"/><rect x="82" y="194" width="242" height="5" fill="#8b8275"/><rect x="82" y="205" width="242" height="15" fill="#8b8275"/><rect x="82" y="228" width="242" height="20" fill="#000" opacity=".07"/></g>
    <g clip-path="url(#fold3)"><rect x="96" y="118" width="216" height="66" fill="#fbf6ec"/><rect x="96" y="138" width="216" height="12" fill="#a89c8b"/><rect x="96" y="156" width="216" height="4" fill="#a89c8b"/><rect x="96" y="166" width="216" height="20" fill="#000" opacity=".06"/></g>
    <g stroke="#fff" stroke-width="4" stroke-linecap="round" opacity=".6"><path d="M124 128H278"/><path d="M112 186H288"/><path d="M100 248H292"/></g>
    <g transform="translate(272 204) rotate(8)"><rect width="40" height="50" rx="4" fill="#2f4a3a"/><path d="M20 12L32 32H8Z" fill="#dbe6c7"/><path d="M10 39H30" stroke="#dbe6c7" stroke-width="3"/></g>`,
  'loam-planter': `
    <defs><linearGradient id="pot" x1="0" x2="1"><stop offset="0" stop-color="#b4603b"/><stop offset=".35" stop-color="#dc8a5e"/><stop offset="1" stop-color="#94492a"/></linearGradient></defs>
    ${shadow(200, 344, 88)}
    <g class="leaves">
    <path d="M200 232C196 170 200 130 204 84" stroke="#2f5a3c" stroke-width="6" fill="none" stroke-linecap="round"/>
    <path d="M204 96C176 84 168 50 186 28C214 40 224 74 204 96Z" fill="#4b8757"/><path d="M204 96C200 74 194 52 188 34" stroke="#a8cf9a" stroke-width="3" fill="none"/>
    <path d="M202 150C162 152 130 130 124 94C164 90 198 112 202 150Z" fill="#3c7349"/><path d="M202 150C178 132 154 114 130 100" stroke="#9bc58d" stroke-width="3" fill="none"/>
    <path d="M202 132C236 136 272 116 284 82C246 70 210 92 202 132Z" fill="#5d9a64"/><path d="M204 130C228 112 252 98 278 88" stroke="#bfe0ad" stroke-width="3" fill="none"/>
    <path d="M200 206C150 214 108 194 92 156C142 144 190 164 200 206Z" fill="#5d9a64"/><path d="M200 206C166 184 132 168 100 160" stroke="#bfe0ad" stroke-width="3" fill="none"/>
    <path d="M200 200C242 214 292 196 312 156C264 140 214 158 200 200Z" fill="#3c7349"/><path d="M202 200C236 180 270 166 304 160" stroke="#9bc58d" stroke-width="3" fill="none"/></g>
    <path d="M126 246H274L256 332C254 340 248 344 240 344H160C152 344 146 340 144 332Z" fill="url(#pot)"/>
    <rect x="112" y="222" width="176" height="34" rx="9" fill="#c8764c"/><rect x="112" y="222" width="176" height="12" rx="6" fill="#e29a6f"/><path d="M130 258H270L268 268H132Z" fill="#000" opacity=".14"/>
    <path d="M156 278L164 330" stroke="#fff" stroke-width="7" stroke-linecap="round" opacity=".25"/>`,
  'ridge-daypack': `
    <defs><linearGradient id="canvas" x1="0" x2="1"><stop offset="0" stop-color="#5e6b3a"/><stop offset=".45" stop-color="#8a9a58"/><stop offset="1" stop-color="#4c582d"/></linearGradient></defs>
    ${shadow(200, 346, 106)}
    <path d="M168 76C168 40 232 40 232 76" fill="none" stroke="#5a3a22" stroke-width="11" stroke-linecap="round"/>
    <path d="M108 210C76 220 78 304 106 318" fill="none" stroke="#434d28" stroke-width="15"/><path d="M292 210C324 220 322 304 294 318" fill="none" stroke="#434d28" stroke-width="15"/>
    <path d="M112 148C112 96 150 70 200 70S288 96 288 148V312C288 332 274 344 254 344H146C126 344 112 332 112 312Z" fill="url(#canvas)"/>
    <path d="M112 160C112 100 150 70 200 70S288 100 288 160C288 190 252 200 200 200S112 190 112 160Z" fill="#96a662"/><path d="M112 168C120 194 156 202 200 202S280 194 288 168" fill="none" stroke="#3f4826" stroke-width="4" stroke-dasharray="9 7"/>
    <rect x="138" y="232" width="124" height="92" rx="16" fill="#6f7d45"/><rect x="138" y="232" width="124" height="92" rx="16" fill="none" stroke="#3f4826" stroke-width="4" stroke-dasharray="9 7"/>
    <path d="M150 308L184 262L204 286L220 268L250 308Z" fill="#cdd6a6" opacity=".9"/><path d="M184 262L173 277L184 274L192 281L196 276Z" fill="#fff"/>
    <rect x="164" y="176" width="13" height="50" rx="4" fill="#5a3a22"/><rect x="223" y="176" width="13" height="50" rx="4" fill="#5a3a22"/><rect x="159" y="206" width="23" height="17" rx="4" fill="#d7b36a"/><rect x="218" y="206" width="23" height="17" rx="4" fill="#d7b36a"/>
    <path d="M134 132C142 108 160 94 180 88" fill="none" stroke="#fff" stroke-width="7" stroke-linecap="round" opacity=".35"/>`,
  'quill-notebook': `
    <defs><linearGradient id="cover" x1="0" x2="1"><stop offset="0" stop-color="#22384d"/><stop offset=".12" stop-color="#2f4c66"/><stop offset="1" stop-color="#3d6182"/></linearGradient></defs>
    ${shadow(204, 346, 118)}
    <g transform="rotate(-7 200 210)">
    <path d="M132 338H292L300 346H140Z" fill="#d9cfbb"/><rect x="126" y="84" width="172" height="254" rx="10" fill="#f3ecdd"/><g stroke="#d9cfbb" stroke-width="2"><path d="M290 96V332"/><path d="M294 96V332"/></g>
    <rect x="112" y="76" width="176" height="258" rx="12" fill="url(#cover)"/><rect x="112" y="76" width="22" height="258" rx="10" fill="#182a3b"/>
    <rect x="248" y="76" width="12" height="258" fill="#c8643c"/>
    <rect x="156" y="122" width="72" height="46" rx="4" fill="#f3ecdd"/><path d="M168 138H216M168 152H204" stroke="#2f4c66" stroke-width="4" stroke-linecap="round"/>
    <path d="M176 334V362L184 354L192 362V334Z" fill="#c8643c"/></g>
    <g transform="rotate(28 300 240)"><rect x="293" y="120" width="16" height="170" rx="7" fill="#1b1b1d"/><rect x="293" y="120" width="16" height="44" rx="7" fill="#c99a4a"/><path d="M294 290H308L301 322Z" fill="#c99a4a"/><rect x="304" y="130" width="4" height="58" rx="2" fill="#f0d59c"/></g>`,
};

export const art = (id: string, label = ''): Html =>
  raw(`<svg class="art" viewBox="0 0 400 400" ${label ? `role="img" aria-label="${label}"` : 'aria-hidden="true"'}>${drawings[id] || ''}</svg>`);

const paths = {
  cart: '<path d="M4 5h2.2l2 10.4a1.6 1.6 0 0 0 1.6 1.3h7.6a1.6 1.6 0 0 0 1.6-1.2L20.6 9H7"/><circle cx="10" cy="20" r="1.3"/><circle cx="17" cy="20" r="1.3"/>',
  search: '<circle cx="11" cy="11" r="6.2"/><path d="m15.8 15.8 4.4 4.4"/>',
  theme: '<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 0 0 16z" fill="currentColor"/>',
  close: '<path d="m6 6 12 12M18 6 6 18"/>',
  person: '<circle cx="12" cy="8" r="3.8"/><path d="M4.8 20c.8-4 3.6-6 7.2-6s6.4 2 7.2 6"/>',
  pulse: '<path d="M3 12h4l2.5-7 4.5 14 2.5-7H21"/>',
};

export const icon = (name: keyof typeof paths): Html =>
  raw(`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${paths[name]}</svg>`);

/** The shop's mark: a gate in moss. */
export const mark = raw(
  '<svg class="mark" viewBox="0 0 40 40" aria-hidden="true"><path d="M6 36V20a14 14 0 0 1 28 0v16" fill="none" stroke="currentColor" stroke-width="4" stroke-linecap="round"/><path d="M14 36V21a6 6 0 0 1 12 0v15" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round" opacity=".55"/><path d="M20 9c4-5 9-5 11-4-1 4-6 6-11 4z" fill="currentColor"/></svg>',
);

/** Hills behind the first words. */
export const hills = raw(
  `<svg class="hills" viewBox="0 0 1200 420" preserveAspectRatio="xMidYMax slice" aria-hidden="true"><circle class="sun" cx="905" cy="128" r="74"/><path class="h1" d="M0 300C160 210 300 250 460 214S760 130 930 190S1130 240 1200 200V420H0Z"/><path class="h2" d="M0 340C180 270 330 330 520 290S860 220 1010 268S1150 300 1200 280V420H0Z"/><path class="h3" d="M0 386C220 320 420 384 640 350S1000 310 1200 352V420H0Z"/><g class="trees"><path d="M842 276l13-42 13 42zM868 284l17-56 17 56zM902 282l11-36 11 36z"/><path d="M1040 300l11-36 11 36zM1060 304l15-50 15 50z"/></g></svg>`,
);
