/** The half of the public reports that is about names and requests: DNS, resolvers, Ingress and its controllers. */
import { testReports } from './table.ts'

testReports('names')
