// Opens and answers connections inside a network namespace. Lines of JSON in, one line out for each: {listen} or {dial}.
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const name = process.argv[2]
process.on('uncaughtException', (error) => console.error(name, error.message))

/** Who answers, at which address and port, and whom it sees: what the judge compares. */
function listen([protocol, address, port]) {
  return new Promise((resolve, reject) => {
    if (protocol === 'udp') {
      const socket = createSocket('udp4')
      socket.on('message', (_, from) =>
        socket.send(`${name} ${address} ${port} ${from.address}`, from.port, from.address),
      )
      socket.bind(port, address, resolve).on('error', reject)
    } else {
      const server = createServer((socket) => {
        socket.on('error', () => {})
        socket.end(`${name} ${socket.localAddress} ${socket.localPort} ${socket.remoteAddress}`)
      })
      server.on('error', reject).listen(port, address, 1024, resolve)
    }
  })
}

function dial({ protocol, from, to, port, timeout }) {
  return new Promise((resolve) => {
    let socket
    const timer = setTimeout(() => end('silent'), timeout)
    const end = (what) => {
      clearTimeout(timer)
      if (protocol === 'udp') socket.close()
      else socket.destroy()
      resolve(what)
    }
    const failed = (error) => end(error.code === 'ECONNREFUSED' ? 'refused' : error.code)
    if (protocol === 'udp') {
      socket = createSocket('udp4')
      socket.on('error', failed).on('message', (text) => end(String(text)))
      socket.bind(0, from, () => socket.connect(port, to, (error) => (error ? failed(error) : socket.send('?'))))
    } else {
      socket = connect({ host: to, port, localAddress: from })
      socket.on('error', failed).on('data', (text) => end(String(text)))
    }
  })
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  const answer = order.listen
    ? await Promise.all(order.listen.map(listen)).then(() => 'listening')
    : await Promise.all(order.dial.map(dial))
  console.log(JSON.stringify(answer))
}
process.exit(0)
