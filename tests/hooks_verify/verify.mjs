// Verifies webhooks with the public library of Standard Webhooks. Arguments: the folder that holds the
// package, and a file with {secrets, requests: [{headers, body}]}. Prints how many verified.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [folder, file] = process.argv.slice(2)
const { Webhook } = createRequire(join(folder, 'package.json'))('standardwebhooks')
const { secrets, requests } = JSON.parse(readFileSync(file, 'utf8'))

let verified = 0
let refused = 0
for (const { headers, body } of requests) {
  for (const secret of secrets) {
    new Webhook(secret).verify(body, headers)
    verified += 1
    try {
      new Webhook(secret).verify(`${body} `, headers)
      console.error('a changed body was verified')
      process.exit(1)
    } catch {
      refused += 1
    }
  }
}
console.log(`${verified} ${refused}`)
