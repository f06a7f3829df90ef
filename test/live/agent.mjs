// Opens and answers connections inside a network namespace. Lines of JSON in, one line out for each:
// {listen}, {dial}, and {hold}, {open}, {act}, {burst} for connections that are led through their states.
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const name = process.argv[2]
process.on('uncaughtException', (error) => console.error(name, error.message))

/** Who answers, at which address and port, and whom it sees: what the judge compares. */
function listen([protocol, address, port]) {
  return new Promise((resolve, reject) => {
    if (protocol === 'udp') {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
      socket.on('message', (_, from) =>
        socket.send(`${name} ${address} ${port} ${from.address}`, from.port, from.address),
      )
      socket.bind(port, address, resolve).on('error', reject)
    } else {
      const server = createServer((socket) => {
        socket.on('error', () => {})
        socket.end(`${name} ${socket.localAddress} ${socket.localPort} ${socket.remoteAddress}`)
      })
      server.on('error', reject).listen({ port, host: address, backlog: 1024, ipv6Only: true }, resolve)
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
      socket = createSocket(from.includes(':') ? 'udp6' : 'udp4')
      socket.on('error', failed).on('message', (text) => end(String(text)))
      socket.bind(0, from, () => socket.connect(port, to, (error) => (error ? failed(error) : socket.send('?'))))
    } else {
      socket = connect({ host: to, port, localAddress: from })
      socket.on('error', failed).on('data', (text) => end(String(text)))
    }
  })
}

/** Sockets that stay: of connections opened here by their number, and accepted ones by port, the last one of each. */
const opened = new Map()
const accepted = new Map()

function hold([address, port]) {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {}).resume()
      accepted.set(port, socket)
    })
    server.on('error', reject).listen({ port, host: address }, resolve)
  })
}

function open({ id, protocol, from, sourcePort, to, port, timeout }) {
  return new Promise((resolve) => {
    if (protocol === 'udp') {
      const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4')
      opened.set(id, socket)
      socket.on('error', () => {})
      socket.bind(sourcePort, from, () => socket.connect(port, to, () => resolve('open')))
      return
    }
    const socket = connect({ host: to, port, localAddress: from, localPort: sourcePort, allowHalfOpen: true })
    opened.set(id, socket)
    const timer = setTimeout(() => resolve('silent'), timeout)
    const end = (what) => {
      clearTimeout(timer)
      resolve(what)
    }
    socket.on('error', (error) => end(error.code === 'ECONNREFUSED' ? 'refused' : error.code)).resume()
    socket.on('connect', () => end('open'))
  })
}

/** One datagram and what comes back, or `silent`. */
function ask(socket, timeout) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('silent'), timeout)
    socket.removeAllListeners('message').once('message', (text) => {
      clearTimeout(timer)
      resolve(String(text))
    })
    socket.send('?', () => {})
  })
}

async function act({ id, port, what, timeout }) {
  const socket = id === undefined ? accepted.get(port) : opened.get(id)
  if (socket === undefined) return 'no such socket'
  if (what === 'ask') return ask(socket, timeout)
  if (what === 'send') await new Promise((resolve) => (socket.write ?? socket.send).call(socket, '?', resolve))
  if (what === 'end') await new Promise((resolve) => socket.end(resolve))
  if (what === 'reset') socket.resetAndDestroy()
  if (what === 'close') (socket.destroy ?? socket.close).call(socket)
  return what
}

/** From many addresses with one source port each: one datagram, and no wait for an answer. */
async function burst({ from, sourcePort, to, port }) {
  for (const address of from) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    await new Promise((resolve) => {
      socket.on('error', resolve)
      socket.bind(sourcePort, address, () => socket.send('?', port, to, () => socket.close(resolve)))
    })
  }
  return 'sent'
}

async function obey(line) {
  const order = JSON.parse(line)
  if (order.listen) return Promise.all(order.listen.map(listen)).then(() => 'listening')
  if (order.hold) return Promise.all(order.hold.map(hold)).then(() => 'listening')
  if (order.open) return open(order.open)
  if (order.act) return act(order.act)
  if (order.burst) return burst(order.burst)
  return Promise.all(order.dial.map(dial))
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify(await obey(line)))
  } catch (error) {
    // Whoever waits for the answer learns by the end of the process that there is none.
    console.error(`${name} cannot do ${line}: ${error.message}`)
    process.exit(1)
  }
}
process.exit(0)
